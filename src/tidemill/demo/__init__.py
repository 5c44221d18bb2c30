"""`tidemill demo`: the first mile on real data with a real model, through the same SDK that anybody uses."""
