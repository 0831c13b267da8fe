"""Press: containers of our own, loads in them, and what is seen meanwhile. Touches the world, judges nothing."""
