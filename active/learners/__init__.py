"""What can be trained in each cycle; one learner a file."""
