"""The shop: find and buy the product that an instruction asks for, with the rules and texts of WebShop."""
