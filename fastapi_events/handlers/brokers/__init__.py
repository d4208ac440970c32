"""What the engines share of each broker: Redis and RabbitMQ."""
