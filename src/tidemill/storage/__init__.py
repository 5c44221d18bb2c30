"""What takes space, why it is kept, and what may go."""
