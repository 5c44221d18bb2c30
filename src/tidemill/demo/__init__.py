"""`tidemill demo`: the whole loop on real data with a real model, through the same SDK that anybody uses."""
