DROP TABLE notes, cases;
