"""The fleet as processes, over real servers, while its members and the servers are hit."""
