"""What operators and newcomers run: the command line and the demonstration."""
