"""The layers of BART, and faster forms of some of them."""
