"""Numbers with the same bits on every machine: fixed point, elementary functions, counter-based random words."""
