"""A folder of static files in which networks run on any device with a browser."""
