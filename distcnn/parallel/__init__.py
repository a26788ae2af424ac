"""All that knows about ranks: the world they form, the blocks each owns, what they add up and share."""
