"""Drivers: they import the manual-page modules and nothing below them."""
