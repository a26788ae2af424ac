"""Numbers with the same bits everywhere: fixed point, elementary functions, counter-based random words."""
