"""What is a broker's, whatever the engine."""
