INSERT INTO projections (name, generation) VALUES ('views', 1), ('counts', 1)
