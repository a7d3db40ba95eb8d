"""Training: tasks, trainers that ask and tell, and the loop that owns the budget."""
