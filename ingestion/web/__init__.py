"""Pages and feeds from the web, with no way to what is not public. Nothing here is imported where no URL is given."""
