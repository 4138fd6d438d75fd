"""Contains the delivery of mail: rendering, the SMTP client and the delivery loops."""
