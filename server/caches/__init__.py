"""What is kept to be given again: vectors of questions, and answers."""
