"""The agents of Guardhouse."""
