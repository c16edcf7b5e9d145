"""Puts the application's folder on the path of its tests; pytest does so because this file is here."""
