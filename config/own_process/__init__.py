"""Other people's code in processes of its own, which can be stopped whatever it does."""
