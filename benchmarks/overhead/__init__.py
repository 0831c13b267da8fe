"""What a container costs: the same programs in a container and outside of one, in pairs."""
