DROP FUNCTION penstock.forget_probe(text, interval);
