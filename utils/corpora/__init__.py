"""Corpora: data folders of {train,val,test}.{source,target}, made from what is at hand or can be downloaded."""
