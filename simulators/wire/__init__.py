"""Instruments of the wire twin: loopback servers that speak the makers' command sets about one shared world."""
