"""What visitors read, in their language: gettext catalogues, and which one somebody gets.

`catalogues/<tag>.po` are read as they are, at the first use of each: there are no compiled files. English needs none:
texts are their own keys. `python -m tests.words` extracts texts and updates the catalogues. Commands, logs and the
errors of the API are for operators and programs, and stay English.
"""
