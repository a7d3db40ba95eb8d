"""SRS SIM928 isolated voltage source for labthermo: an adapter and its simulated instrument."""
