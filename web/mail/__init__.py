"""Contains the delivery of mail: settings to server, messages to text and HTML, and the two loops."""
