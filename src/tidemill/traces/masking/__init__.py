"""What is taken out of spans before they are stored."""
