"""Attribute concepts of the built-in shop by group: invented data, read by `vocabulary`.

One line is one concept: a kind, then its wordings. Kind ``a`` stands before the noun or after "that is", ``w`` after
"with", ``f`` after "for". The first wording is the name of the concept, which agents never see as such.
"""

from __future__ import annotations

ATTRIBUTES: dict[str, str] = {
    "common": """
a high quality / top quality / premium quality
a easy to use / simple to use / user friendly
a long lasting / durable / built to last
a lightweight / ultra light / featherweight
a eco friendly / environmentally friendly / sustainable
a travel friendly / good for traveling / made for travel
f daily use / everyday use / regular use
""",
    "care": """
a machine washable / washer safe / machine wash
a hand wash only / hand washable / washed by hand
a quick drying / fast drying / rapid dry
a wrinkle free / crease resistant / no iron
a fade resistant / color fast / non fading
""",
    "fabric": """
w stretch fabric / stretchy material / elastic cloth
w cotton lining / lined with cotton / cotton inside
w polyester blend / poly blend / mixed polyester
a breathable / airy / ventilated
a moisture wicking / sweat absorbing / sweat wicking
a fleece lined / fuzzy lined / lined with fleece
w soft bamboo fibers / bamboo viscose / bamboo fabric
""",
    "fit": """
a slim fit / slim cut / tight fitting
a loose fit / relaxed fit / roomy
a long sleeve / long sleeved / full sleeve
a short sleeve / short sleeved / half sleeve
a high waist / high waisted / high rise
a low rise / low waisted / hip hugging
w drawstring closure / a drawstring waist / tie closure
w button closure / a buttoned front / buttons
w zipper pockets / zip pockets / zippered pockets
w tummy control / belly control / a slimming waist
a crew neck / round neck / round collar
a v neck / v collar / vee necked
w elastic waistband / an elastic waist / a stretchy waistband
f casual wear / casual outfits / everyday wear
f workouts / gym exercise / fitness training
""",
    "shoes": """
w rubber sole / rubber outsole / rubber bottoms
a slip resistant / anti slip / non skid
w arch support / supportive arch / arch cushioning
w memory foam insole / foam footbed / cushioned insole
w ankle strap / strapped ankle / an ankle buckle
w open toe / an open toed front / peep toe
w closed toe / a covered toe / full toe cap
a lace up / laced / with shoelaces
a water resistant / rain proof / waterproof
w steel toe / a safety toe / protective toe cap
f wide feet / broad feet / wide width
f walking / long walks / strolling
w synthetic leather / vegan leather / faux leather
""",
    "warm": """
w faux fur hood / fake fur hood / fuzzy hood
a wind proof / wind resistant / windbreaking
a insulated / padded / thermal
f cold weather / winter / freezing days
w front pockets / big pockets / roomy pockets
""",
    "bags": """
w adjustable strap / adjustable shoulder belt / strap that adjusts
w laptop compartment / laptop sleeve / computer pocket
a scratch resistant / scratch proof / scuff resistant
w magnetic clasp / magnetic closure / magnet lock
a hand crafted / handmade / artisan made
w large storage space / plenty of room / generous storage
""",
    "skin": """
f sensitive skin / delicate skin / easily irritated skin
f dry skin / dehydrated skin / flaky skin
f oily skin / greasy skin / shiny skin
a fragrance free / unscented / without perfume
a paraben free / free of parabens / no parabens
a cruelty free / not tested on animals / animal friendly
a dermatologist tested / derm approved / skin doctor tested
w hyaluronic acid / hyaluron / hydrating hyaluronate
w vitamin c / ascorbic acid / c vitamin
w tea tree oil / melaleuca oil / tea tree extract
a anti aging / age defying / wrinkle reducing
f dark circles / tired eyes / under eye shadows
a oil free / non greasy / without oil
""",
    "hair": """
f damaged hair / broken hair / brittle hair
f curly hair / curls / coily hair
f dry hair / thirsty hair / parched hair
a sulfate free / no sulfates / free of sulfates
a heat resistant / heat safe / heat proof
w argan oil / moroccan oil / argan extract
w coconut oil / coconut extract / coco oil
f hair growth / growing hair / hair thickening
f hair loss / thinning hair / balding
a natural looking / realistic / life like
f hair salon / hair stylists / barber shops
""",
    "makeup": """
a water proof / smudge proof / sweat proof
a highly pigmented / strongly pigmented / rich in pigment
w matte finish / a mat look / shine free finish
w shimmer finish / glitter / sparkling finish
a alcohol free / no alcohol / non alcoholic
a vegan / plant based / no animal ingredients
a nail friendly / gentle on nails / nail safe
a easy to apply / simple to apply / quick to apply
a easy to carry / pocket size / portable
w built in mirror / a small mirror / mirror included
a non toxic / toxin free / free of toxins
""",
    "oral": """
f teeth whitening / whiter teeth / brightening teeth
f fresh breath / bad breath / breath freshening
f sensitive teeth / tender teeth / tooth sensitivity
a fluoride free / no fluoride / without fluoride
w soft bristles / gentle bristles / extra soft bristle
a stainless steel / made of steel / steel made
""",
    "signal": """
a high speed / fast / super quick
w bluetooth connection / wireless bluetooth / bluetooth pairing
a plug and play / no driver needed / ready to plug
w usb port / usb connector / usb plug
w gold plated contacts / gold connectors / gold plating
a high definition / hd quality / full hd
w 4g lte / lte mobile data / 4g network
""",
    "power": """
w fast charging / quick charge / rapid charging
w batteries included / included batteries / battery in the box
w long battery life / a big battery / all day battery
w wireless charging / cordless charging / qi charging
w output protection / surge protection / overload protection
a energy efficient / power saving / low power
""",
    "sound": """
w noise cancelling / noise reduction / noise blocking
w stereo sound / surround sound / two channel audio
w deep bass / heavy bass / strong low end
a hands free / no hands needed / handsfree operated
w built in microphone / integrated mic / a microphone
a sweat resistant / gym proof / splash resistant
""",
    "screen": """
w tempered glass / hardened glass / toughened glass
a anti glare / glare reducing / reflection free
a shock proof / drop proof / impact resistant
a dust proof / dust resistant / sealed against dust
w motion detection / motion sensor / movement alerts
w optical zoom / zoom lens / true zoom
w night vision / infrared vision / sees in the dark
a ultra hd / uhd / extra sharp
w carrying case / a travel case / storage case
w touch screen / touchscreen display / touch control
w quad core processor / four core chip / quad core cpu
a heavy duty / rugged / industrial strength
""",
    "room": """
f living room / lounge / family room
f bedroom / sleeping room / master bedroom
f dining room / dining area / breakfast room
f home office / study room / working from home
f small spaces / tiny apartments / compact rooms
""",
    "build": """
a easy to assemble / simple to put together / quick assembly
a easy to install / simple to mount / quick to install
a fully assembled / pre assembled / already put together
w solid wood / real wood / genuine timber
w metal legs / steel legs / iron feet
w high density foam / thick foam / firm foam
a space saving / compact / foldable
w storage drawers / drawers / built in drawers
a wall mounted / mounted on the wall / wall hung
w assembly tools / tools included / a tool kit
a mid century / retro / vintage style
a contemporary / modern / present day
w lumbar support / lower back support / a back cushion
""",
    "textile": """
a super soft / plush / velvety
a hypoallergenic / allergy friendly / allergen free
a easy to clean / simple to clean / wipe clean
a stain resistant / stain proof / spill proof
w memory foam / visco foam / contour foam
a hand woven / handwoven / loom woven
w double stitching / reinforced seams / sturdy seams
a blackout / light blocking / room darkening
w non slip backing / a rubber backing / anti skid bottom
f spring and summer / warm months / hot nights
""",
    "light": """
w led bulbs / led lighting / led lamps
a dimmable / with dimmer / brightness adjustable
w clear glass shade / a glass cover / glass globe
w bronze finish / bronzed metal / antique bronze
w remote control / a remote / remote operation
a lead free / no lead / without lead
w soy wax / soybean wax / wax from soy
""",
    "diet": """
a gluten free / no gluten / celiac safe
a sugar free / no sugar / unsweetened
a dairy free / no dairy / lactose free
a keto friendly / keto / low carb
a non gmo / gmo free / not genetically modified
a low sodium / less salt / salt reduced
a low calorie / light in calories / few calories
a fat free / no fat / zero fat
a kosher certified / kosher / rabbi certified
a usda organic / certified organic / organically grown
a plant powered / vegetarian / meat free
""",
    "food": """
w natural ingredients / all natural contents / nothing artificial
w no artificial colors / natural coloring / dye free color
w simple ingredients / few ingredients / a short ingredient list
w high protein / plenty of protein / rich protein
w dietary fiber / lots of fiber / fiber content
a ready to eat / precooked / heat and eat
a individually wrapped / single serve / separately packed
a resealable / zip sealed / recloseable
a freshly baked / oven baked / bakery fresh
a shelf stable / long keeping / pantry safe
a caffeine free / decaffeinated / no caffeine
f gift giving / presents / a gift basket
f birthday party / birthday celebration / a bday party
f baking / home bakers / cake making
""",
}
"""Group -> its concepts, the most frequent first."""
