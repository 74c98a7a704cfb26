"""Advice on the user's own data: which loss, why a logged value looks odd, which common claims hold."""
