"""labkit: a lab that measures kernel bypass and holds a network path to its targets."""

__version__ = "0.1.0"
