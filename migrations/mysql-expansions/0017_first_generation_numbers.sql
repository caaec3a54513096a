INSERT INTO generation_numbers (projection, last_number) SELECT name, generation FROM projections
