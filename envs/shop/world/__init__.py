"""The built-in shop: invented catalogues, instructions and goals, and the shifts between them."""
