"""foodstream beside what people use today, on one machine and one set of services: ``make bench``."""
