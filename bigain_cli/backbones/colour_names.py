"""The classes of the model in closed form: colour names, each with its synonyms, and their colours. Torch-free."""

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey, gray": (128, 128, 128),
    "red": (220, 30, 30),
    "orange": (255, 145, 20),
    "yellow": (250, 225, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 200),
    "purple, violet": (125, 50, 165),
    "pink": (250, 150, 190),
    "brown": (115, 70, 35),
}
