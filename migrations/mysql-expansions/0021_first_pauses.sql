INSERT INTO pauses (projection) SELECT name FROM projections
