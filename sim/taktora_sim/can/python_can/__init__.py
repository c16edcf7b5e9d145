"""The python-can interface ``taktora_sim``: virtual time inside a World, elsewhere real time by a server process."""
