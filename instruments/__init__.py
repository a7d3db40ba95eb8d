"""Adapters: one module per instrument family, over drivers that others maintain, and the VISA transport below them."""
