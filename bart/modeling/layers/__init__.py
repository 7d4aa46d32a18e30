"""The building blocks of BART, and the fast forms of some of them."""
