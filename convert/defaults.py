"""What a bundle says if its author says nothing. Imports nothing: the command's help needs it."""

VERSION = "1.0.0"
LICENCE = "not stated"
INTENDED_USE = "Research and education, not for diagnosis."
CARD = (
    "Nobody has described this model: give `limiar convert --card FILE.md` the data's source, licence, attribution and flaws."
)
