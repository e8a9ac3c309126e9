"""Files of people: texts, arrays and pictures, measured before they are read; nothing is code."""
