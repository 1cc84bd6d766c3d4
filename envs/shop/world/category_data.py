"""Sub-categories and option values of the built-in shop: invented data, read by `vocabulary`.

One line is one sub-category: name | head nouns (``+`` marks a plural) | shelf | option axes (``axis:scale``) |
attribute groups | typical price in dollars.
"""

# ruff: noqa: E501 - one line is one sub-category

from __future__ import annotations

CATEGORIES: dict[str, str] = {
    "fashion": """
running shoes | running shoes+ / sneakers+ / trainers+ | footwear | color, size:shoe, width | shoes, common, fabric | 62
ankle boots | ankle boots+ / booties+ / short boots+ | footwear | color, size:shoe | shoes, warm, common | 75
flat sandals | sandals+ / flip flops+ / slides+ | footwear | color, size:shoe | shoes, common | 34
high heels | high heels+ / pumps+ / stilettos+ | footwear | color, size:shoe, width | shoes, common | 58
loafers | loafers+ / slip ons+ / moccasins+ | footwear | color, size:shoe, width | shoes, common, fabric | 49
t-shirts | t-shirt / tee / cotton top | tops | color, size:cloth, style:print | fit, care, fabric | 19
hoodies | hoodie / sweatshirt / pullover | tops | color, size:cloth, style:print | fit, warm, care | 38
button down shirts | button down shirt / dress shirt / oxford shirt | tops | color, size:cloth | fit, care, fabric | 31
cardigans | cardigan / knit sweater / knitwear jacket | tops | color, size:cloth | fit, care, warm | 36
blue jeans | jeans+ / denim pants+ / denims+ | bottoms | color, size:waist, style:cut | fit, care, fabric | 44
leggings | leggings+ / tights+ / yoga pants+ | bottoms | color, size:cloth, length:inseam | fit, care, fabric | 26
shorts | shorts+ / short pants+ / bermudas+ | bottoms | color, size:cloth | fit, care, fabric | 24
summer dresses | summer dress / sundress / maxi gown | dresses | color, size:cloth, style:print | fit, care, fabric | 37
winter jackets | winter jacket / coat / parka | outerwear | color, size:cloth | warm, fit, care | 96
swimsuits | swimsuit / bathing suit / swimwear | beachwear | color, size:cloth, style:print | fit, care, fabric | 29
pajama sets | pajama set / sleepwear / nightwear | sleepwear | color, size:cloth, style:print | fit, care, fabric | 33
ankle socks | ankle socks+ / footies+ / low socks+ | sleepwear | color, size:sock, pack | care, fabric, common | 13
handbags | handbag / purse / tote | bags | color, style:bag | bags, common, care | 52
backpacks | backpack / rucksack / knapsack | bags | color, capacity:liter, style:bag | bags, common, care | 46
""",
    "beauty": """
face moisturizers | face moisturizer / facial cream / day cream | skin care | volume, scent, pack | skin, common, makeup | 22
face serums | face serum / facial essence / skin ampoule | skin care | volume, pack | skin, common, makeup | 27
sheet masks | sheet masks+ / facial masks+ / face packs+ | skin care | scent, pack | skin, common | 15
body lotions | body lotion / body milk / skin butter | body care | scent, volume, pack | skin, common, makeup | 14
shower gels | shower gel / body wash / bath gel | body care | scent, volume | skin, common, hair | 12
deodorants | deodorant / antiperspirant / underarm stick | body care | scent, pack | skin, makeup, common | 9
shampoos | shampoo / hair wash / hair cleanser | hair care | volume, scent, pack | hair, skin, common | 17
hair masks | hair mask / hair treatment / deep conditioner | hair care | volume, scent | hair, skin, common | 19
wigs | wig / hairpiece / lace front | hair styling | color:hair, length:inch | hair, common | 68
hair extensions | hair extensions+ / clip ins+ / hair wefts+ | hair styling | color:hair, length:inch | hair, common | 47
hair dryers | hair dryer / blow dryer / blow drier | hair styling | color, style:plug | hair, power, common | 43
lipsticks | lipstick / lip color / lip crayon | makeup | shade, finish, pack | makeup, skin, common | 11
foundations | foundation / base makeup / complexion cream | makeup | shade, volume, finish | makeup, skin, common | 18
eyeshadow palettes | eyeshadow palette / eye shadow kit / eye makeup set | makeup | shade, finish | makeup, skin, common | 24
nail polishes | nail polish / nail lacquer / nail varnish | makeup | color, finish, pack | makeup, skin, common | 9
makeup brushes | makeup brushes+ / cosmetic brushes+ / beauty brushes+ | tools | color, pack | makeup, common, bags | 16
toothpastes | toothpaste / tooth gel / dental cream | oral care | flavor:mint, pack | oral, common, skin | 8
toothbrushes | toothbrush / tooth cleaner / dental brush | oral care | color, pack, style:bristle | oral, power, common | 13
perfumes | perfume / eau de toilette / cologne | fragrance | scent, volume | makeup, skin, common | 48
""",
    "electronics": """
wireless earbuds | earbuds+ / earphones+ / in ear headphones+ | audio | color, style:pack | sound, power, common | 52
over ear headphones | headphones+ / headset / ear cans+ | audio | color, style:pack | sound, power, common | 79
portable speakers | portable speaker / boombox / music box | audio | color, style:pack | sound, power, signal | 58
soundbars | soundbar / tv speaker / home theater bar | audio | color, size:tv | sound, signal, common | 149
phone cases | phone case / phone cover / phone shell | phone accessories | color, model:phone, style:print | bags, common, makeup | 15
screen protectors | screen protector / display film / glass guard | phone accessories | model:phone, pack | screen, common | 12
phone chargers | phone charger / wall charger / power adapter | phone accessories | color, length:cable, pack | power, signal, common | 18
power banks | power bank / battery pack / portable charger | phone accessories | color, capacity:mah | power, signal, common | 36
hdmi cables | hdmi cable / video cord / monitor cable | cables | length:cable, pack, color | signal, power, common | 13
usb hubs | usb hub / port splitter / docking station | cables | color, style:ports | signal, power, common | 29
laptops | laptop / notebook computer / ultrabook | computers | capacity:disk, color, style:ram | screen, signal, power | 620
tablets | tablet / tablet computer / slate | computers | capacity:disk, color, size:screen | screen, signal, power | 240
mechanical keyboards | keyboard / keypad / typing board | computers | color, style:switch | signal, power, common | 61
security cameras | security camera / surveillance cam / ip camera | cameras | style:pack, color | screen, signal, power | 84
digital cameras | digital camera / photo camera / point and shoot | cameras | color, style:lens | screen, power, signal | 260
tripods | tripod / camera stand / camera mount | cameras | color, length:pole | bags, common, power | 41
smart watches | smart watch / fitness watch / sports watch | wearables | color, size:watch, style:band | screen, power, sound | 120
watch bands | watch band / watch strap / wrist strap | wearables | color, size:watch, material | bags, common, care | 14
tv mounts | tv mount / television bracket / screen bracket | television | size:tv, style:arm | build, screen, common | 47
remote controls | remote control unit / tv clicker / channel changer | television | color, style:plug | power, signal, common | 16
""",
    "home": """
sofas | sofa / couch / settee | seating | color, material, style:sofa | build, room, textile | 540
office chairs | office chair / desk chair / task chair | seating | color, material | build, room, textile | 165
bar stools | bar stools+ / counter stools+ / pub chairs+ | seating | color, pack, height | build, room, common | 118
ottomans | ottoman / footstool / pouf | seating | color, material, size:dim | build, room, textile | 82
coffee tables | coffee table / cocktail table / tea table | tables | finish:wood, size:dim | build, room, common | 140
nightstands | nightstand / bedside table / night table | tables | finish:wood, pack | build, room, common | 88
bookcases | bookcase / bookshelf / shelving unit | storage | finish:wood, height | build, room, common | 124
storage bins | storage bins+ / baskets+ / organizer boxes+ | storage | color, size:dim, pack | build, textile, common | 27
bed frames | bed frame / bedstead / platform bed | bedroom | size:bed, finish:wood, style:bed | build, room, common | 260
mattresses | mattress / sleeping pad / bed pad | bedroom | size:bed, height | textile, room, build | 310
bed sheets | bed sheets+ / sheet set / bed linen | bedding | color, size:bed, material | textile, care, room | 42
duvet covers | duvet cover / comforter cover / quilt cover | bedding | color, size:bed, style:print | textile, care, room | 48
throw blankets | throw blanket / throw / lap blanket | bedding | color, size:dim, style:print | textile, care, room | 31
throw pillows | throw pillow / cushion / accent pillow | bedding | color, size:dim, pack | textile, care, room | 22
area rugs | area rug / carpet / floor mat | decor | color, size:rug, style:print | textile, room, care | 115
curtains | curtains+ / drapes+ / window panels+ | decor | color, size:curtain, pack | textile, room, care | 36
wall mirrors | wall mirror / looking glass / hanging mirror | decor | finish:metal, size:dim | light, room, common | 79
table lamps | table lamp / desk lamp / bedside light | lighting | color, style:lamp, pack | light, room, build | 49
chandeliers | chandelier / pendant light / ceiling fixture | lighting | finish:metal, style:lights | light, room, common | 176
scented candles | scented candle / aroma candle / jar candle | lighting | scent, volume, pack | light, room, common | 18
""",
    "grocery": """
potato chips | potato chips+ / crisps+ / kettle chips+ | snacks | flavor:savory, volume, pack | diet, food | 14
popcorn | popcorn / popped corn / puffed corn | snacks | flavor:savory, volume, pack | diet, food | 16
crackers | crackers+ / crispbreads+ / savory biscuits+ | snacks | flavor:savory, pack | diet, food | 12
granola bars | granola bars+ / cereal bars+ / oat bars+ | snacks | flavor:sweet, pack | diet, food | 17
cookies | cookies+ / biscuits+ / shortbreads+ | sweets | flavor:sweet, pack, volume | diet, food | 13
dark chocolate | dark chocolate / chocolate bar / cocoa bar | sweets | flavor:sweet, pack, volume | diet, food | 15
gummy candy | gummy candy / jelly candy / chewy sweets+ | sweets | flavor:fruit, volume, pack | diet, food | 11
dried fruit | dried fruit / fruit chips+ / dehydrated fruit | snacks | flavor:fruit, volume, pack | diet, food | 18
beef jerky | beef jerky / dried beef / meat sticks+ | snacks | flavor:savory, volume, pack | diet, food | 23
mixed nuts | mixed nuts+ / nut mix / trail mix | snacks | flavor:savory, volume, pack | diet, food | 19
ground coffee | ground coffee / coffee grounds+ / brewing coffee | drinks | flavor:roast, volume, pack | diet, food | 21
herbal tea | herbal tea / tea bags+ / infusion | drinks | flavor:tea, pack | diet, food | 13
sparkling water | sparkling water / seltzer / soda water | drinks | flavor:fruit, pack, volume | diet, food | 16
protein shakes | protein shake / protein drink / meal shake | drinks | flavor:sweet, pack, volume | diet, food | 32
pasta | pasta / noodles+ / macaroni | pantry | style:pasta, volume, pack | diet, food | 12
rice | rice / rice grains+ / whole grain rice | pantry | style:rice, volume, pack | diet, food | 15
pasta sauces | pasta sauce / marinara / tomato sauce | pantry | flavor:savory, pack | diet, food | 11
seasonings | seasoning / spice blend / spice rub | pantry | flavor:savory, volume, pack | diet, food | 10
cake mixes | cake mix / baking mix / dessert mix | baking | flavor:sweet, pack | diet, food | 12
cake toppers | cake toppers+ / cupcake picks+ / cake decorations+ | baking | color, pack, style:topper | food, common | 9
""",
}
"""Department -> its sub-categories."""

VALUES: dict[str, str] = {
    "color": "black, white, grey, navy blue, red, burgundy, pink, rose gold, dark green, olive green, light blue, beige, "
    "brown, khaki, purple, lavender, yellow, mustard, orange, coral, teal, silver, gold, charcoal, ivory, champagne, "
    "black | white, blue | yellow, grey | red, mint, turquoise, espresso, denim blue, sage, multicolor",
    "color:hair": "jet black, natural black, dark brown, chestnut brown, honey blonde, ash blonde, platinum blonde, "
    "copper red, wine red, silver grey, ombre brown, highlight blonde",
    "size:shoe": "5, 5.5, 6, 6.5, 7, 7.5, 8, 8.5, 9, 9.5, 10, 10.5, 11, 12, 13",
    "size:cloth": "x-small, small, medium, large, x-large, xx-large, 3x-large, 4x-large, large tall, x-large tall",
    "size:waist": "28w x 30l, 30w x 30l, 30w x 32l, 32w x 30l, 32w x 32l, 34w x 32l, 36w x 32l, 38w x 34l, 40w x 32l",
    "size:sock": "small, medium, large, shoe size 5-8, shoe size 9-11, shoe size 12-14",
    "size:tv": "32 inch, 40 inch, 43 inch, 50 inch, 55 inch, 65 inch, 75 inch",
    "size:screen": "7 inch, 8 inch, 10 inch, 11 inch, 13 inch",
    "size:watch": "38mm, 40mm, 41mm, 42mm, 44mm, 45mm, 46mm",
    "size:bed": "twin, twin xl, full, queen, king, california king",
    "size:dim": "12x12 inch, 16x16 inch, 18x18 inch, 20x20 inch, 20x30 inch, 24x36 inch, 30x40 inch, 50x60 inch, "
    "60x80 inch, 100x45x45 cm",
    "size:rug": "2 x 3 ft, 3 x 5 ft, 4 x 6 ft, 5 x 7 ft, 6 x 9 ft, 8 x 10 ft, 9 x 12 ft, 2 x 8 ft runner",
    "size:curtain": "42w x 63l, 42w x 84l, 52w x 63l, 52w x 84l, 52w x 95l, 52w x 108l",
    "width": "narrow, regular, wide, extra wide",
    "length:inseam": "25 inch inseam, 28 inch inseam, 30 inch inseam, 32 inch inseam",
    "length:inch": "8 inch, 10 inch, 12 inch, 14 inch, 16 inch, 18 inch, 20 inch, 22 inch, 24 inch",
    "length:cable": "1.5 feet, 3 feet, 6 feet, 10 feet, 15 feet, 25 feet, 50 feet",
    "length:pole": "40 inch, 50 inch, 60 inch, 72 inch",
    "height": "14 inch high, 18 inch high, 24 inch high, 26 inch high, 30 inch high, 48 inch high, 72 inch high",
    "pack": "pack of 1, pack of 2, pack of 3, pack of 4, pack of 6, pack of 8, pack of 10, pack of 12, pack of 24",
    "volume": "1 ounce, 1.7 fl oz, 2 ounce, 3.4 fl oz, 4 ounce, 5.5 ounce, 6.76 fl oz, 8 ounce, 12 ounce, 16 ounce, "
    "32 ounce, 2 pound, 5 pound",
    "scent": "lavender fields, vanilla bean, fresh linen, ocean breeze, citrus mint, sandalwood, white jasmine, "
    "eucalyptus, cherry blossom, cedar smoke, peony, coconut lime",
    "flavor:savory": "sea salt, barbecue, sour cream, jalapeno, salt and vinegar, garlic herb, smoked paprika, "
    "white cheddar, teriyaki, black pepper, original, sweet chili",
    "flavor:sweet": "chocolate, vanilla, peanut butter, caramel, strawberry, cinnamon, lemon, birthday cake, mocha, "
    "almond coconut, salted caramel, maple",
    "flavor:fruit": "mango, strawberry banana, blueberry, green apple, lychee, pineapple, watermelon, black cherry, "
    "peach, lime, mixed berry, grapefruit",
    "flavor:mint": "spearmint, peppermint, cinnamon mint, charcoal mint, wintergreen, bubble gum",
    "flavor:roast": "light roast, medium roast, dark roast, french roast, hazelnut, vanilla nut, decaf blend",
    "flavor:tea": "chamomile, peppermint leaf, hibiscus, ginger lemon, rooibos, lemongrass, cinnamon apple, turmeric",
    "shade": "ivory 01, porcelain 05, warm beige 12, sand 20, honey 24, caramel 30, chestnut 36, mocha 42, berry 51, "
    "rosewood 55, nude 60, plum 66",
    "finish": "matte, glossy, satin, metallic, shimmer, dewy",
    "finish:wood": "natural oak, walnut, espresso brown, rustic grey, white oak, cherry wood, black ash, driftwood",
    "finish:metal": "brushed nickel, matte black, antique brass, chrome, oil rubbed bronze, polished gold",
    "material": "leather, linen, velvet, microfiber, cotton, bamboo, silicone, nylon, canvas, stainless mesh",
    "capacity:liter": "15 liter, 20 liter, 25 liter, 30 liter, 40 liter, 55 liter",
    "capacity:mah": "5000 mah, 10000 mah, 15000 mah, 20000 mah, 26800 mah",
    "capacity:disk": "64gb, 128gb, 256gb, 512gb, 1tb, 2tb",
    "model:phone": "lumo 7, lumo 7 pro, lumo 8, lumo 8 max, orbi x, orbi x2, orbi mini, pixa 5, pixa 6, pixa 6a",
    "style:print": "solid, striped, floral print, polka dot, tie dye, plaid, animal print, tropical leaves, geometric",
    "style:cut": "boot cut, straight leg, skinny leg, tapered, bell bottom",
    "style:bag": "crossbody, top handle, quilted, mini, classic, roll top",
    "style:plug": "us plug, eu plug, uk plug, dual voltage",
    "style:bristle": "soft head, medium head, extra soft head, kids head",
    "style:pack": "single, 2 piece kit, 4 piece kit, bundle with case, bundle with strap",
    "style:ports": "4 ports, 5 ports, 7 ports, 10 ports",
    "style:ram": "4gb ram, 8gb ram, 16gb ram, 32gb ram",
    "style:switch": "blue switch, brown switch, red switch, silent switch",
    "style:lens": "body only, kit lens, twin lens kit, travel zoom kit",
    "style:band": "sport loop, link bracelet, leather loop, braided loop",
    "style:arm": "fixed arm, tilting arm, full motion arm",
    "style:sofa": "loveseat, three seater, sectional, sleeper",
    "style:bed": "without headboard, with headboard, canopy, low profile",
    "style:lamp": "drum shade, globe, gooseneck, tripod base, ceramic base",
    "style:lights": "3 lights, 5 lights, 6 lights, 8 lights, 12 lights",
    "style:pasta": "penne, spaghetti, fusilli, rigatoni, orzo, lasagna sheets",
    "style:rice": "basmati, jasmine, brown long grain, wild blend, arborio, sushi grain",
    "style:topper": "happy birthday, baby shower, graduation, sunflower, dinosaur, unicorn, football",
}
"""Option axis, with its scale, -> the values that exist."""
