"""Drivers in processes of their own, which can do no more than the guard lets them."""
