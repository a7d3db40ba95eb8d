"""What a run leaves behind: the journal (the only truth), and views of it."""
