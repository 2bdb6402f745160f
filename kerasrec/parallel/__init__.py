"""Where tables live and how ranks exchange what they look up."""
