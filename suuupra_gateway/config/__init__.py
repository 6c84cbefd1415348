"""What a configuration file may say, and how it is read: pure, no Twisted."""
