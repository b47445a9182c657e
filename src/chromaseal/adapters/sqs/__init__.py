"""The queues of collections, in Amazon SQS."""
