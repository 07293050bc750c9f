"""What `bench.linux` runs in its guest: `python -m bench.guest [PART...]`."""
